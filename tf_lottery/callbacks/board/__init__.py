"""What `SparsityBoard` writes, and how it is laid out in TensorBoard."""
