"""Bounces without a machine-readable part, from servers whose senders and subjects are unusual."""

import pytest

from mail import inbound_report
from mail.inbound_report import ReportKind

QUOTED_HEADER = """\
Return-Path: <>
From: System Administrator <postmaster@mx.x.example>
Subject: Undeliverable: [Announce] Your order

Your message

  To:      announce@lists.sender.example
  Subject: [Announce] Your order
  Sent:    Mon, 2 Nov 2026 10:00:00 +0000

did not reach the following recipient(s):

ann@x.example on Mon, 2 Nov 2026 10:00:01 +0000
    The recipient name is not recognized
"""
FRENCH = """\
Return-Path: <>
From: facteur@x.example
Subject: Message en retour

Sujet: Your order
L'adresse de messagerie ann@x.example n'existe pas.
"""
WITH_DIALOGUE = """\
Return-Path: <>
From: gateway@x.example
Subject: Notification

Sent <<< RCPT TO:<ann@x.example>
Received >>> 550 5.1.1 unknown user.
"""
LOCAL = """\
Return-Path: <>
From: postoffice@x.example
Subject: Warning

ann@x.example - no such user here.
"""
A_PERSON_IS_AWAY = """\
Return-Path: <>
From: ann@x.example
Subject: Re: Your order

I am at the sea until Monday. Please write to bob@x.example.
"""


@pytest.mark.parametrize("text", [QUOTED_HEADER, FRENCH, WITH_DIALOGUE, LOCAL])
def test_a_null_sender_and_clear_words_are_a_bounce(text: str) -> None:
    found = inbound_report.parse_report(text.encode())
    assert found.kind is ReportKind.BOUNCE
    [failure] = found.failures
    assert failure.recipient == "ann@x.example"
    assert failure.bounce_class.name == "invalid_recipient"


@pytest.mark.parametrize("text", [FRENCH, WITH_DIALOGUE, LOCAL])
def test_the_same_words_from_a_person_are_none(text: str) -> None:
    signed = text.replace("Return-Path: <>", "Return-Path: <ann@x.example>")
    assert inbound_report.parse_report(signed.encode()).kind is ReportKind.OTHER


def test_an_answer_without_a_sender_is_no_bounce() -> None:
    assert inbound_report.parse_report(A_PERSON_IS_AWAY.encode()).kind is ReportKind.OTHER
