//! What workers run as: an account of their own, without rights and without a token.

use k8s_openapi::api::core::v1::ServiceAccount;

use crate::cluster::owner::Owner;

/// The account. A pod that asks for its token gets none either, unless it says so itself.
pub fn service_account(owner: &Owner) -> ServiceAccount {
    ServiceAccount {
        metadata: owner.metadata(),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    }
}
