//! The one integration binary: each module is one kind of claim about the whole house.

mod acceptance;
mod cluster;
mod corpus;
mod presets;
mod scripts;
mod simulation;
mod tidy;
