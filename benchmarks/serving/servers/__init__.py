"""One server for each peer, written as its documentation shows."""
