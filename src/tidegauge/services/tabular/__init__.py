"""Tables: what of a training table is compared, and what of requests and answers is read."""
