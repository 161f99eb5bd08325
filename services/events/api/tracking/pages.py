"""The pages that recipients see: plain HTML without scripts, for screen readers too."""

from html import escape

from kernel.brand import COLOR, LOGO_URL, Brand
from mail.unsubscribe import Subscription

CONFIRMED = b"unsubscribe=page"  # what the form of the page posts
_NAME, _, _VALUE = CONFIRMED.decode().partition("=")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
body {{ font: 1.1rem/1.5 sans-serif; max-width: 32rem; margin: 4rem auto; padding: 0 1rem }}
header img {{ max-width: 12rem; max-height: 4rem }}
button {{ font: inherit; padding: .6rem 1.2rem; cursor: pointer{button} }}
button:focus-visible {{ outline: 3px solid; outline-offset: 2px }}
footer {{ margin-top: 3rem; font-size: .9rem }}
</style>
</head>
<body>
{header}<main>
<h1>{title}</h1>
{content}
</main>
<footer>{brand}</footer>
</body>
</html>
"""
_FORM = """<p>{what}</p>
<form method="post">
<input type="hidden" name="{name}" value="{value}">
<button type="submit">Unsubscribe</button>
</form>"""


def unsubscribe_page(subscription: Subscription, brand: Brand) -> bytes:
    """Asks for a confirmation: GET changes nothing, because scanners follow every link."""
    name = subscription.list_name
    what = f"No more mail from the list “{name}”?" if name else "No more mail from this sender?"
    form = _FORM.format(what=escape(what), name=_NAME, value=_VALUE)
    return _page("Unsubscribe", form, brand)


def unsubscribed_page(brand: Brand) -> bytes:
    content = "<p>You are unsubscribed. Messages that are on their way may still arrive.</p>"
    return _page("You are unsubscribed", content, brand)


def problem_page(title: str, detail: str, brand: Brand) -> bytes:
    return _page(title, f"<p>{escape(detail)}</p>", brand)


def content_policy(brand: Brand) -> bytes:
    """The Content-Security-Policy of its pages: nothing but their own style, and the logo."""
    logo = LOGO_URL.fullmatch(brand.logo_url)
    images = f" img-src {logo[1]};" if logo else ""
    rest = "style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    return f"default-src 'none';{images} {rest}".encode()


def _page(title: str, content: str, brand: Brand) -> bytes:
    name = escape(brand.name)
    header = ""
    if LOGO_URL.fullmatch(brand.logo_url):
        header = f'<header><img src="{escape(brand.logo_url)}" alt="{name}"></header>\n'
    page = _PAGE.format(
        title=escape(title), content=content, brand=name, header=header,
        button=_button_style(brand.color),
    )  # fmt: skip
    return page.encode()


def _button_style(color: str) -> str:
    """Empty without a colour. Its text is black or white: one of these always has a contrast of at
    least 4.5 (WCAG 2.2, 1.4.3). The border keeps a light button visible (1.4.11)."""
    if not COLOR.fullmatch(color):
        return ""
    text = "#000" if contrast(color, "#000000") >= contrast(color, "#ffffff") else "#fff"
    return f"; background: {color}; color: {text}; border: 1px solid #595959; border-radius: .3rem"


def contrast(one: str, other: str) -> float:
    """The ratio of two colours `#rrggbb`, 1 to 21 (WCAG 2.2, contrast ratio)."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    """The relative luminance of a colour in sRGB, 0 to 1 (WCAG 2.2)."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
