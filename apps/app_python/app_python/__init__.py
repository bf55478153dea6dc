"""A web page that counts its visits in visits.txt, one durable count per replica."""

VERSION = "0.1.0"
