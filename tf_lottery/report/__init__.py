"""Charts, tables and pages: descriptions of results, and their drawing."""
