//! What an object is: the table of kinds, metadata, selectors, quantities, defaults, validation,
//! patches, printer columns, schema and wire errors. Pure: no I/O, no clock, no randomness.
