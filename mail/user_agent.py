"""What a User-Agent says (RFC 9110 §10.1.5), reduced to the program and the system.

As it is, it often singles out a device: models, builds and exact versions.
"""

import re2

UNKNOWN = "unknown"
_MAX = 1000
# The first that matches names the program; most programs also claim to be those further down.
_PROGRAMS = tuple(
    (name, re2.compile(pattern))
    for name, pattern in (
        ("Google image proxy", r"googleimageproxy|ggpht\.com"),
        ("Yahoo mail proxy", r"yahoomailproxy"),
        ("Edge", r"\bedg(?:e|a|ios)?/(\d+)"),
        ("Opera", r"\b(?:opr|opera)/(\d+)"),
        ("Samsung Internet", r"\bsamsungbrowser/(\d+)"),
        ("Thunderbird", r"\bthunderbird/(\d+)"),
        ("Outlook", r"\b(?:microsoft outlook|outlook|ms-?office|microsoft office)\b"),
        ("Firefox", r"\b(?:firefox|fxios)/(\d+)"),
        ("Chrome", r"\b(?:chrome|crios)/(\d+)"),
        ("Safari", r"\bversion/(\d+)[^ ]*(?: mobile/[^ ]+)? safari/"),
        ("Apple Mail", r"\bapplewebkit/(?:\d+)"),
        ("Internet Explorer", r"\b(?:msie |trident/)(?:\d+)"),
    )
)
_SYSTEMS = tuple(
    (name, re2.compile(pattern))
    for name, pattern in (
        ("iOS", r"\b(?:iphone|ipad|ipod)\b|outlook-ios"),
        ("Android", r"\bandroid\b"),
        ("Windows", r"\bwindows\b"),
        ("macOS", r"\bmac(?:intosh| os x)\b"),
        ("ChromeOS", r"\bcros\b"),
        ("Linux", r"\b(?:linux|x11)\b"),
    )
)


def reduce_user_agent(user_agent: str) -> str:
    """`Chrome 126, Windows`; what is not known is left out, and "unknown" if nothing is."""
    text = user_agent[:_MAX].lower().encode("utf-8", "replace").decode("utf-8")
    program = _program(text)
    if program.endswith("proxy"):  # its system is not that of the recipient
        return program
    system = next((name for name, pattern in _SYSTEMS if pattern.search(text)), "")
    return ", ".join(filter(None, (program, system))) or UNKNOWN


def _program(text: str) -> str:
    for name, pattern in _PROGRAMS:
        if found := pattern.search(text):
            version = next(filter(None, found.groups()), "")
            return f"{name} {version}" if version else name
    return ""
