"""What tests share: real network namespaces and programs in them."""
