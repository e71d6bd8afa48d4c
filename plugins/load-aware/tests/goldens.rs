//! What is answered to the views in `tests/views`.

use weir_plugin_load_aware::LoadAware;

#[test]
fn answers_are_as_written_down() {
    weir_plugin_sdk::check_goldens!("tests/views", LoadAware: scheduler);
}
