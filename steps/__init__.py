# SPDX-License-Identifier: Apache-2.0
"""Step definitions, one file a domain; behave's runner loads them, nobody imports them."""
