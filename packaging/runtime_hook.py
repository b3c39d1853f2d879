"""What the executable does before tunrouter.py.

The bootloader has led the dynamic linker to the libraries it unpacked. That is read once, at start: programs
that this one starts shall find the system's own. And pyroute2 as a whole imports its database of the network,
with sqlite3, which nobody here asks: it gets names that stand for nothing (packaging/tunrouter.spec leaves
the rest out). Its OpenSSL looks for the system's certificates where Debian has them: elsewhere it is told.
"""

import os
import sys
from types import ModuleType

NOT_IN_HERE = {"pyroute2.ipdb": ("IPDB", "CommitException", "CreateException"), "pyroute2.ndb.main": ("NDB",)}

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian and its kin, Arch
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine
)

original = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
if original is None:
    os.environ.pop("LD_LIBRARY_PATH", None)
else:
    os.environ["LD_LIBRARY_PATH"] = original

for name, attributes in NOT_IN_HERE.items():
    sys.modules[name] = ModuleType(name)
    for attribute in attributes:
        setattr(sys.modules[name], attribute, None)

if "SSL_CERT_FILE" not in os.environ and "SSL_CERT_DIR" not in os.environ:
    for bundle in filter(os.path.exists, BUNDLES):
        os.environ["SSL_CERT_FILE"] = bundle
        break
