//! What the Redis store promises beyond the contract.
