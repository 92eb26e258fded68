# SPDX-License-Identifier: Apache-2.0
"""Why does it not work? Looks at everything between a caller and the nodes, and says what to do.

It changes nothing. Each module looks at one thing; `illnesses` knows what all of it means; `examination` puts them in
order. `finding` and `illnesses` load nothing but themselves: they describe, and need no network.
"""
