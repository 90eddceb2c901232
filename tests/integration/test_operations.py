"""Operations from another operator's machine, on what was brought up from this one."""

import pytest
from second_checkout import LOOKS, SecondCheckout, Stacks

from primage.engine.api import Options
from primage.engine.embedded.engine import EmbeddedEngine
from primage.errors import PrimageError
from primage.projects.project import parse_stack_name

pytestmark = pytest.mark.quiet
STACKS = Stacks("elsewhere")


@pytest.fixture(scope="module")
def said(site):
    """By stack, what `up` said of it; all stand until the tests are over."""
    engine, found = EmbeddedEngine(), {}
    try:
        for stack, settings in STACKS.settings.items():
            try:
                engine.up(parse_stack_name(stack), Options(overrides=settings))
            except PrimageError as error:
                found[stack] = str(error)
        yield found
    finally:
        for stack in STACKS.settings:
            engine.destroy(parse_stack_name(stack), Options())


@pytest.fixture(scope="module")
def there(said, kubeconfig, tmp_path_factory):
    return SecondCheckout.make(tmp_path_factory.mktemp("second"), kubeconfig, STACKS)


# All checks are made from here in tests/e2e/test_site.py, and from another checkout on what Pulumi brought up.
@pytest.mark.parametrize("require", LOOKS, ids=lambda require: require.__name__)
def test_a_second_checkout_with_an_empty_home_sees_all(there, require):
    require(there)


def test_up_itself_names_the_argument_and_the_command_that_shows_more(said):
    assert "argument 'carina': " in said[STACKS.htc]
    assert f"`primage queue dead {STACKS.htc}`" in said[STACKS.htc]
