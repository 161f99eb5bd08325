"""Load generators, a process of their own: one message per request, over HTTP or SMTP.

Closed loop keeps every connection busy; open loop sends on a fixed schedule and counts a late
answer from when its request was due, so that a stall cannot hide the requests it kept waiting
(coordinated omission).
"""
