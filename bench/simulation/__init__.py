"""A simulation of receivers, and of senders that warm up new egress sources at them.

The receivers know what a receiver knows: who sends how much, what bounces, and who complains. The
engine's sender drives the modules of `services.router.domain` and no copy of them.
"""
