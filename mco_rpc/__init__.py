# SPDX-License-Identifier: Apache-2.0
"""The contract both sides share: messages, filters, schemas, status codes, signing, connectors."""

__version__ = "0.1.0"
