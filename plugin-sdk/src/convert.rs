//! Converts between the contract's records and the views.

use crate::bindings::filter::exports::weir::policy::filter;
use crate::bindings::lifecycle::weir::policy::types;
use crate::bindings::masquerade::exports::weir::policy::masquerade;
use crate::bindings::scheduler::exports::weir::policy::scheduler;

weir_plugin_views::conversions!();
