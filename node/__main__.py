# SPDX-License-Identifier: Apache-2.0
"""``python -m mco_node`` is ``mco-node``."""

import sys

from .main import main

sys.exit(main())
