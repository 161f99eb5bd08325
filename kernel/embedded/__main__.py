"""`python -m kernel.embedded` downloads the jars of the embedded stack, so that its first start
works offline."""

import sys

from kernel.embedded.jars import classpath
from kernel.errors import EmbeddedError

try:
    classpath()
except EmbeddedError as error:
    sys.stderr.write(f"{error}\n")  # not fatal: an external broker needs no jars
