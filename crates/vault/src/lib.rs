//! Secrets that a task uses without holding them.
//!
//! A [`Catalogue`] says which secrets there are, where each value comes from
//! and in which [`Slot`] of which requests it may stand. It holds no value:
//! those are in the user's environment, in what a command prints, or in a
//! [`Store`] that age encrypts. What a task holds instead is a placeholder of
//! the secret's [`Shape`].

mod binding;
mod catalogue;
mod env_file;
mod error;
mod name;
mod placeholder;
mod private;
mod source;
mod store;

pub use self::{
    binding::{Binding, FieldSlot, Slot},
    catalogue::{Catalogue, Entry},
    env_file::variables,
    error::VaultError,
    name::SecretName,
    placeholder::{Alphabet, Shape},
    source::{
        AppToken, Environment, GITHUB_APP_ARGUMENT, GITHUB_GIVE_BACK_ARGUMENT, HASHICORP_ARGUMENT,
        HashicorpField, Source, check_value,
    },
    store::{Key, Store},
};
