"""The two transports, where they must do the same."""

import asyncio
import json

import httpx2
import pytest
from hpc_centre import Centre

from hpc_connector.clients.credentials import Credentials
from hpc_connector.clients.rest_transport import RestTransport
from hpc_connector.clients.shares import Shares
from hpc_connector.clients.shell_transport import ShellTransport
from hpc_connector.domain.errors import RefusedError, UnavailableError
from hpc_connector.domain.passing import PASSING
from hpc_connector.domain.request import Request
from primage.contract.hpc import Backend

UID = "9b2e8b1c-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def centre(tmp_path_factory):
    found = Centre(tmp_path_factory.mktemp("hpc")).start()
    yield found
    found.stop()


def shell(centre, said):
    (centre.slurm / "says").write_text(f"sbatch: error: {said}\n")
    return shell_of(centre)


def shell_of(centre):
    return ShellTransport(Backend(**centre.backend()), "owner", lambda: Credentials.of(centre.secret()), Shares())


def rest(centre, said):
    def answer(question):
        submits = question.url.path.endswith("job/submit")
        content = {"errors": [{"error": said}]} if submits else {"jobs": []}
        return httpx2.Response(200, content=parts(json.dumps(content).encode()))

    async def parts(text):
        yield text

    described = {**centre.backend(), "slurmrestd": "https://rest"}
    transport = RestTransport(Backend(**described), "owner", lambda: Credentials.of(centre.secret()), Shares())
    transport._slurm._client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    return transport


def submitted(transport):
    async def whole():
        try:
            return await asyncio.wait_for(transport.submit(Request(UID, "job", "hpc", "true"), 1), 30)
        finally:
            await transport.close()

    return asyncio.run(whole())


@pytest.mark.parametrize("make", [shell, rest])
@pytest.mark.parametrize(
    "phrase", [*PASSING, "Unable to contact slurm controller (connect failure)", "Socket timed out on send/recv"]
)
def test_a_complaint_of_slurms_that_passes_is_waited_for(centre, make, phrase):
    with pytest.raises(UnavailableError):
        submitted(make(centre, f"Batch job submission failed: {phrase}"))


@pytest.mark.parametrize("make", [shell, rest])
@pytest.mark.parametrize("said", ["Invalid partition name specified", "Requested node configuration is not available"])
def test_any_other_ends_the_job_in_slurms_words(centre, make, said):
    with pytest.raises(RefusedError, match=said) as caught:
        submitted(make(centre, said))
    assert caught.value.reason == "SubmitRefused"


def test_a_session_that_ends_before_its_command_says_nothing_about_the_job(centre):
    """As a login node does that has too much to do: the job is submitted later, and has not failed."""
    (centre.slurm / "says").unlink(missing_ok=True)
    centre.cuts = "sbatch"
    with pytest.raises(UnavailableError, match="before the command ended"):
        submitted(shell_of(centre))
    assert submitted(shell_of(centre)).isdigit()
