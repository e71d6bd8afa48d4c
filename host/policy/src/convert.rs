//! Conversions between the contract's records and the views that are printed, recorded and replayed.

use crate::bindings::{filter, masquerade, scheduler, types};

weir_plugin_views::conversions!();
