# SPDX-License-Identifier: Apache-2.0
"""Why does it not work? Looks at everything between a caller and the nodes, and says what to do.

It changes nothing. Each module looks at one thing; `illnesses` knows what all of it means; `examination` puts them in
order.
"""

from mco_client.doctor.finding import Finding, Grade
from mco_client.doctor.patient import Patient

__all__ = ["Finding", "Grade", "Patient"]
