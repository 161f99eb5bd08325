"""The pages that recipients see: plain HTML without scripts, for screen readers too."""

from html import escape

from kernel.brand import Brand
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
button {{ font: inherit; padding: .6rem 1.2rem; cursor: pointer }}
footer {{ margin-top: 3rem; font-size: .9rem }}
</style>
</head>
<body>
<main>
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


def _page(title: str, content: str, brand: Brand) -> bytes:
    page = _PAGE.format(title=escape(title), content=content, brand=escape(brand.name))
    return page.encode()
