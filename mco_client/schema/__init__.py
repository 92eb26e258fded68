# SPDX-License-Identifier: Apache-2.0
"""What a client makes of the schemas that nodes publish: learns them, keeps them, judges replies by them."""
