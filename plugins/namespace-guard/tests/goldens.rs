//! What is answered to the views in `tests/views`.

use weir_plugin_namespace_guard::NamespaceGuard;

#[test]
fn answers_are_as_written_down() {
    weir_plugin_sdk::check_goldens!("tests/views", NamespaceGuard: filter, scheduler, masquerade);
}
