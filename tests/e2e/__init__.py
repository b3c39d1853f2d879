"""Tests on the real kernel: TUN devices, network namespaces, whole programs. They need root."""
