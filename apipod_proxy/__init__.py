"""An LLM gateway: one process between AI clients and many model providers.

A request passes the packages in this order:

    edge → auth → route → limit → upstream → stream → usage

Beside them stand ``dialect`` (the languages), ``catalog`` (what may be served), ``store`` (where facts live), ``admin``
and ``simulator``. ``gateway`` is the flow, ``exchange`` the record of one call, ``app`` the place where all is wired.
"""

__version__ = "0.1.0"
