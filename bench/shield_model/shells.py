"""Modern HTML around any text: one generator for both classes, so that HTML tells nothing."""

import re
from collections.abc import Sequence
from html import escape
from random import Random

from bench.shield_model.names import WORDS, new_token, tracker_link

URL = re.compile(r"https?://[^\s\"'<>()\[\]]+")
FONTS = ("Arial, sans-serif", "Helvetica, Arial, sans-serif", "'Segoe UI', Roboto, sans-serif")
COLOURS = ("#1a73e8", "#0a66c2", "#222222", "#e4572e", "#2a9d8f", "#5b3cc4", "#f4f4f7", "#ffffff")
LEAVE = ("Unsubscribe", "Unsubscribe from these emails", "Manage preferences", "Opt out")
SOCIAL = ("facebook.com", "twitter.com", "instagram.com", "linkedin.com/company", "youtube.com")


def shell(paragraphs: Sequence[str], domain: str, random: Random) -> str:
    """A page with these paragraphs: a simple letter, or a table layout with header and footer."""
    body = [paragraph(each, random) for each in paragraphs]
    if random.random() < 0.25:
        return "<html><body>" * (random.random() < 0.5) + "\n".join(body)
    if random.random() < 0.5:
        at = random.randint(0, len(body))
        body.insert(at, picture(domain, random))
    inner = "\n".join([*header(domain, random), *body, *footer(domain, random)])
    return head(random) + table(inner, random) + "</body></html>"


def paragraph(text: str, random: Random) -> str:
    """Addresses become links, of which some have a text."""

    def anchor(found: re.Match[str]) -> str:
        href = escape(found[0])
        shown = random.choice([href, href, "here", "this page", "View details"])
        return f'<a href="{href}"{style(random)}>{shown}</a>'

    pieces, at = [], 0
    for found in URL.finditer(text):
        pieces += [escape(text[at : found.start()], quote=False), anchor(found)]
        at = found.end()
    inner = "".join([*pieces, escape(text[at:], quote=False)])
    return f"<p{style(random)}>{inner}</p>"


def style(random: Random) -> str:
    if random.random() < 0.4:
        return ""
    size, colour = random.choice([13, 14, 15, 16, 18]), random.choice(COLOURS[:6])
    return f' style="font-size:{size}px;line-height:1.5;color:{colour};margin:0 0 16px"'


def head(random: Random) -> str:
    parts = ["<!DOCTYPE html>" * (random.random() < 0.8) + '<html lang="en"><head>']
    parts += ['<meta charset="utf-8">'] * (random.random() < 0.8)
    parts += ['<meta name="viewport" content="width=device-width, initial-scale=1">'] * (
        random.random() < 0.7
    )
    parts += ["<title></title>"] * (random.random() < 0.4)
    if random.random() < 0.6:
        parts.append(
            f"<style>body{{margin:0;font-family:{random.choice(FONTS)}}}"
            f".{random.choice(WORDS)}{{max-width:{random.choice([560, 600, 640])}px}}"
            + "@media (max-width:600px){.wrap{width:100%!important}}" * (random.random() < 0.6)
            + "</style>"
        )
    parts += ["<!--[if mso]><xml></xml><![endif]-->"] * (random.random() < 0.3)
    return "\n".join(parts) + f'</head><body bgcolor="{random.choice(COLOURS[5:])}">'


def table(inner: str, random: Random) -> str:
    width, depth = random.choice([560, 600, 640]), random.randint(1, 3)
    size = f'width="{width}" cellpadding="0" cellspacing="0"'
    cell = f'<td class="{random.choice(WORDS)}" align="left">'
    open_ = f'<table role="presentation" {size}><tr>{cell}'
    return open_ * depth + inner + "</td></tr></table>" * depth


def header(domain: str, random: Random) -> list[str]:
    if random.random() < 0.4:
        return []
    name = domain.partition(".")[0].title()
    logo = f'<img src="https://{domain}/img/logo.png" width="120" alt="{name}" style="border:0">'
    return [logo if random.random() < 0.6 else f"<h1{style(random)}>{name}</h1>"]


def picture(domain: str, random: Random) -> str:
    host = random.choice([f"https://{domain}", f"https://cdn.{domain}", "https://img.mailcdn.net"])
    return f'<img src="{host}/{new_token(random, 12)}.jpg" width="600" alt="">'


def footer(domain: str, random: Random) -> list[str]:
    """Postal address, social links, an unsubscribe link and a pixel, each of them sometimes."""
    parts = []
    if random.random() < 0.5:
        street = f"{random.randint(1, 999)} {random.choice(WORDS).title()} Street"
        parts.append(
            f"<p{style(random)}>&copy; 2026 {domain.partition('.')[0].title()}, {street}</p>"
        )
    if random.random() < 0.3:
        parts += [f'<a href="https://{each}/{domain.partition(".")[0]}">'
                  f'<img src="https://{domain}/i/{each[:2]}.png" width="24" alt="{each[:8]}"></a>'
                  for each in random.sample(SOCIAL, 3)]  # fmt: skip
    if random.random() < 0.5:
        url = random.choice([f"https://{domain}/unsubscribe?u={new_token(random, 16)}",
                             tracker_link(random, domain)])  # fmt: skip
        parts.append(f'<p{style(random)}><a href="{url}">{random.choice(LEAVE)}</a></p>')
    if random.random() < 0.3:
        parts.append(f'<img src="{tracker_link(random, domain)}" width="1" height="1" alt="">')
    return parts
