"""What every test that reads a socket checks by the way: what an edge says by itself is in the contract."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from broker.contract.messages import CONTROLS

_BY_TYPE: Final = {str(each.__struct_config__.tag): each for each in CONTROLS}


def check_control(message: dict[str, Any]) -> None:
    """Returns when a control message is one of the contract, with no field that it does not name.

    Raises:
        AssertionError: it is not.
    """
    kind = _BY_TYPE.get(message["type"])
    assert kind is not None, f"no message of the type {message['type']!r} is in the contract"
    try:
        msgspec.convert(message, kind)
    except msgspec.ValidationError as error:
        raise AssertionError(f"{error}: {message}") from None
    unknown = set(message) - {"type", *kind.__struct_encode_fields__}
    assert not unknown, f"{message['type']}: {', '.join(sorted(unknown))}: not in the contract"
