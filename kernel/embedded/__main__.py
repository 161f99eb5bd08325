"""`python -m kernel.embedded` fetches what the embedded stack needs, so that its first start is
offline."""

import sys

from kernel.embedded.jars import classpath
from kernel.errors import EmbeddedError

try:
    classpath()
except EmbeddedError as error:
    sys.stderr.write(f"{error}\n")  # no failure: brokers by address do without
