"""The addresses by which a room is opened, and how one of them is shown to a camera.

The token stands behind ``#``: a browser keeps that part to itself.
"""

from __future__ import annotations

import io

from cutlayer.errors import ConfigError, missing_package

SCREEN, PHONE = "/", "/phone"


def screen_url(origin: str, token: str) -> str:
    """The address of the big screen: ``https://host:port/#TOKEN``, from `cutlayer.wire.join_code.origin`."""
    return f"{origin}{SCREEN}#{token}"


def phone_url(origin: str, token: str) -> str:
    """The address that a phone opens: ``https://host:port/phone#TOKEN``."""
    return f"{origin}{PHONE}#{token}"


def qr_svg(url: str) -> str:
    """A QR code as an SVG that scales to the width of its place, dark modules on white in any scheme of colors.

    The white border of four modules is part of the code; cameras need it. It names no color that a style sheet may
    change, and needs neither a style nor a script.

    Raises:
        ConfigError: The package segno is not installed.
    """
    try:
        import segno
    except ModuleNotFoundError as error:
        raise ConfigError(f"A QR code cannot be drawn: {missing_package(error)}") from None
    drawn = io.BytesIO()
    code = segno.make_qr(url, error="m", boost_error=False)
    code.save(drawn, kind="svg", dark="#000", light="#fff", omitsize=True, xmldecl=False, nl=False)
    return drawn.getvalue().decode()
