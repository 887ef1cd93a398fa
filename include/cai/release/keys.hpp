// Keys that sign: ECDSA on P-256 (also read: P-384, P-521), in PEM files, by OpenSSL.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace cai {

/// Asks for the passphrase of a key file; "" where there is none.
using AskPassphrase = std::function<std::string(const std::string& file)>;

/// Half of a key pair that verifies.
class PublicKey {
 public:
  struct Impl;

  explicit PublicKey(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}

  /// SubjectPublicKeyInfo in PEM.
  std::string pem() const;

  /// SHA-256 of pem(): names the key in signatures.
  std::string hint() const;

  /// Whether `signature` (DER) is this key's of `bytes`.
  bool verifies(std::string_view bytes, std::string_view signature) const;

 private:
  std::shared_ptr<const Impl> impl_;
};

/// The whole pair.
class SigningKey {
 public:
  explicit SigningKey(std::shared_ptr<const PublicKey::Impl> impl) : impl_(std::move(impl)) {}

  PublicKey public_key() const { return PublicKey(impl_); }

  /// ECDSA over the SHA-2 hash of the curve's size, DER. Two signatures of the same bytes differ.
  std::string sign(std::string_view bytes) const;

 private:
  std::shared_ptr<const PublicKey::Impl> impl_;
};

/// Makes a pair and writes `name`.key (PKCS#8, only its owner may read it; encrypted by AES-256 where the
/// passphrase is not "") and `name`.pub. Throws UsageError where one of them exists.
SigningKey make_key(const std::filesystem::path& name, const std::string& passphrase);

/// Throws InputError for a file that is no private key of an accepted curve, or whose passphrase is wrong.
SigningKey read_signing_key(const std::filesystem::path& file, const AskPassphrase& ask);

/// Throws InputError for a file that is no public key of an accepted curve.
PublicKey read_public_key(const std::filesystem::path& file);

std::string to_base64(std::string_view bytes);

/// Throws InputError (`what` begins the message) for text that is not base64.
std::string from_base64(std::string_view text, const std::string& what);

}  // namespace cai
