"""The same operations, on what Pulumi's engine brought up."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from second_checkout import COMMAND_S, EVERYTHING, SecondCheckout, Stacks

pytestmark = pytest.mark.quiet
STACKS = Stacks("by-pulumi")


@pytest.fixture(scope="module")
def there(with_site, kubeconfig, tmp_path_factory):
    def up(stack):
        given = [part for key, value in STACKS.settings[stack].items() for part in ("--config", f"{key}={json.dumps(value)}")]
        command = [sys.executable, "-m", "primage", "up", stack, "--engine", "pulumi", *given]
        # Two of the three are meant to fail: what they leave standing is looked at.
        subprocess.run(command, env={**os.environ, **with_site.environment}, capture_output=True, check=False, timeout=COMMAND_S)

    try:
        with ThreadPoolExecutor(len(STACKS.settings)) as pool:
            list(pool.map(up, STACKS.settings))
        yield SecondCheckout.make(tmp_path_factory.mktemp("second"), kubeconfig, STACKS)
    finally:
        for stack in STACKS.settings:
            with_site("destroy", stack, "--engine", "pulumi")


@pytest.mark.parametrize("require", EVERYTHING, ids=lambda require: require.__name__)
def test_a_second_checkout_without_pulumi_sees_all(there, require):
    require(there)
