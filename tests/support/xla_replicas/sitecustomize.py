"""Python imports this by itself where this folder is on PYTHONPATH: how the stand-in gets under an unchanged command.

XLA_REPLICAS=8x1 gives the host eight processes of one replica, 4x2 four processes of two threads (see `standin`).
XLA_PROBE=FOLDER writes there what each replica went through (see `probe`).
"""

import os

if "XLA_REPLICAS" in os.environ:
    import standin

    standin.install(*map(int, os.environ["XLA_REPLICAS"].split("x")))
if "XLA_PROBE" in os.environ:
    import probe

    probe.install(os.environ["XLA_PROBE"])
