"""Load generators in a process of their own: one message per request, over HTTP or SMTP.

The closed loop keeps every connection busy. The open loop sends on a fixed schedule and measures
latency from the time when a request was due, so that a stall cannot hide the requests it delayed
(coordinated omission).
"""
