import inspect
import re

import pytest

from captioner import errors
from captioner.errors import CaptionerError

CLASSES = [
    cls
    for _, cls in inspect.getmembers(errors, inspect.isclass)
    if cls.__module__ == errors.__name__
]


def test_the_tree_in_the_docstring_names_every_error_and_no_other() -> None:
    drawn = re.findall(r"^ [ │]+(?:[├└]── )?(\w+Error)\b", errors.__doc__ or "", flags=re.MULTILINE)
    assert sorted(drawn) == sorted(cls.__name__ for cls in CLASSES)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_is_one_a_user_can_put_right(cls: type[CaptionerError]) -> None:
    assert issubclass(cls, CaptionerError)
    assert cls.__doc__


@pytest.mark.parametrize("cls", CLASSES)
def test_the_text_of_an_error_is_what_it_was_raised_with(cls: type[CaptionerError]) -> None:
    with pytest.raises(CaptionerError) as error:
        raise cls("photo.jpg is empty; choose another.")
    assert str(error.value) == "photo.jpg is empty; choose another."


def test_a_callers_mistake_is_not_a_users_mistake() -> None:
    assert not issubclass(CaptionerError, ValueError)
