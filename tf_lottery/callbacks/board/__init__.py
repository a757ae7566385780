"""Parts of `SparsityBoard`: what it reads, draws and writes."""
