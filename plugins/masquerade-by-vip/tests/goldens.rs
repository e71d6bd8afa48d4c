//! What is answered to the views in `tests/views`.

use weir_plugin_masquerade_by_vip::MasqueradeByVip;

#[test]
fn answers_are_as_written_down() {
    weir_plugin_sdk::check_goldens!("tests/views", MasqueradeByVip: masquerade);
}
