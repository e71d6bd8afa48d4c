//! Between the contract's records and the views.

use crate::bindings::exports::weir::policy::{filter, masquerade, scheduler};
use crate::bindings::weir::policy::types;

weir_plugin_views::conversions!();
