//! The one integration binary: each module is one kind of claim about the whole house.

mod presets;
mod tidy;
