//! What the bench makes of its figures: its modules without input or output,
//! and their tests. A bench has no test harness of its own.

#![allow(dead_code, reason = "the bench uses all of it")]

#[path = "../../benches/fleet/bars.rs"]
mod bars;
#[path = "../../benches/fleet/figures.rs"]
mod figures;
#[path = "../../benches/fleet/picture.rs"]
mod picture;
#[path = "../../benches/fleet/record.rs"]
mod record;
#[path = "../../benches/fleet/render.rs"]
mod render;
#[path = "../../benches/fleet/rows.rs"]
mod rows;

/// The tests, by module.
#[path = "bench_figures"]
mod tests {
    mod bars;
    mod figures;
    mod picture;
    mod record;
    mod render;
    mod rows;
}
