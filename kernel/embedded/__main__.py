"""`python -m kernel.embedded` downloads the jars of the embedded stack, so that its first start
works offline, and makes the cache with which each start is fast."""

import sys

from kernel.embedded.aot_cache import make_aot_cache
from kernel.embedded.jars import classpath
from kernel.errors import EmbeddedError

try:
    classpath()
    make_aot_cache()
except (EmbeddedError, OSError) as error:
    sys.stderr.write(f"{error}\n")  # not fatal: an external broker needs no jars, and no broker
    # needs the cache
