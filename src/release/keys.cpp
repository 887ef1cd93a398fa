#include "cai/release/keys.hpp"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include <cstring>

#include "cai/base/error.hpp"
#include "cai/base/hash.hpp"
#include "cai/io/file.hpp"

namespace cai {
namespace fs = std::filesystem;

struct PublicKey::Impl {
  EVP_PKEY* key = nullptr;

  explicit Impl(EVP_PKEY* owned) : key(owned) {}
  ~Impl() { EVP_PKEY_free(key); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
};

namespace {

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Digest = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;
constexpr const char* kAccepted = "a PEM file with an elliptic-curve key on P-256, P-384 or P-521";

Bio memory() {
  return Bio(BIO_new(BIO_s_mem()), BIO_free);
}

/// `text` must outlive it.
Bio memory_of(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), BIO_free);
}

std::string text_of(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

/// The hash that goes with the key's curve; nullptr for a key of another kind.
const EVP_MD* hash_of(const EVP_PKEY* key) {
  char curve[64] = {};
  if (EVP_PKEY_get_group_name(key, curve, sizeof curve, nullptr) != 1) return nullptr;
  const std::string name = curve;
  if (name == "prime256v1") return EVP_sha256();
  if (name == "secp384r1") return EVP_sha384();
  if (name == "secp521r1") return EVP_sha512();
  return nullptr;
}

std::string pem_file(const fs::path& file) {
  if (!fs::is_regular_file(file)) throw InputError(file.string(), 0, "no such key file");
  return read_file(file);
}

std::shared_ptr<const PublicKey::Impl> checked(EVP_PKEY* key, const fs::path& file, const char* kind) {
  auto owned = std::make_shared<const PublicKey::Impl>(key);
  if (key == nullptr || hash_of(key) == nullptr)
    throw InputError(file.string(), 0, std::string("not a ") + kind + " key; accepted: " + kAccepted);
  return owned;
}

int give_passphrase(char* buffer, int size, int, void* given) {
  const auto& passphrase = *static_cast<const std::string*>(given);
  const int length = static_cast<int>(passphrase.size());
  if (length > size) return -1;
  std::memcpy(buffer, passphrase.data(), passphrase.size());
  return length;
}

std::string private_pem(EVP_PKEY* key, const std::string& passphrase) {
  const Bio bio = memory();
  const EVP_CIPHER* cipher = passphrase.empty() ? nullptr : EVP_aes_256_cbc();
  if (PEM_write_bio_PKCS8PrivateKey(bio.get(), key, cipher, passphrase.data(),
                                    static_cast<int>(passphrase.size()), nullptr, nullptr) != 1)
    throw EnvironmentError("OpenSSL could not write the private key");
  return text_of(bio);
}

}  // namespace

std::string PublicKey::pem() const {
  const Bio bio = memory();
  if (PEM_write_bio_PUBKEY(bio.get(), impl_->key) != 1)
    throw EnvironmentError("OpenSSL could not write the public key");
  return text_of(bio);
}

std::string PublicKey::hint() const {
  return sha256(pem());
}

bool PublicKey::verifies(std::string_view bytes, std::string_view signature) const {
  const Digest digest(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  return EVP_DigestVerifyInit(digest.get(), nullptr, hash_of(impl_->key), nullptr, impl_->key) == 1 &&
         EVP_DigestVerify(digest.get(), reinterpret_cast<const unsigned char*>(signature.data()),
                          signature.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
                          bytes.size()) == 1;
}

std::string SigningKey::sign(std::string_view bytes) const {
  const Digest digest(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  std::size_t size = 0;
  bool is_good = EVP_DigestSignInit(digest.get(), nullptr, hash_of(impl_->key), nullptr, impl_->key) == 1 &&
                 EVP_DigestSign(digest.get(), nullptr, &size, data, bytes.size()) == 1;
  std::string signature(size, '\0');
  is_good = is_good && EVP_DigestSign(digest.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                                      data, bytes.size()) == 1;
  if (!is_good) throw EnvironmentError("OpenSSL could not sign");
  signature.resize(size);
  return signature;
}

SigningKey make_key(const fs::path& name, const std::string& passphrase) {
  const fs::path secret = name.string() + ".key";
  const fs::path open = name.string() + ".pub";
  for (const fs::path& file : {secret, open})
    if (fs::exists(file)) throw UsageError(file.string() + " exists; choose another name");
  EVP_PKEY* key = EVP_EC_gen("P-256");
  if (key == nullptr) throw EnvironmentError("OpenSSL could not make a key on P-256");
  SigningKey pair(std::make_shared<const PublicKey::Impl>(key));
  if (name.has_parent_path()) create_folders(name.parent_path());
  const mode_t before = ::umask(0077);  // at no moment may others read the private key
  try {
    write_file(secret, private_pem(key, passphrase));
  } catch (...) {
    ::umask(before);
    throw;
  }
  ::umask(before);
  write_file(open, pair.public_key().pem());
  return pair;
}

SigningKey read_signing_key(const fs::path& file, const AskPassphrase& ask) {
  const std::string pem = pem_file(file);
  const bool is_encrypted = pem.find("ENCRYPTED") != pem.npos;
  std::string passphrase = is_encrypted ? ask(file.string()) : "";
  const Bio bio = memory_of(pem);
  EVP_PKEY* key = PEM_read_bio_PrivateKey(bio.get(), nullptr, give_passphrase, &passphrase);
  if (key == nullptr && is_encrypted) throw InputError(file.string(), 0, "wrong passphrase");
  return SigningKey(checked(key, file, "private"));
}

PublicKey read_public_key(const fs::path& file) {
  const std::string pem = pem_file(file);
  const Bio bio = memory_of(pem);
  std::string none;  // without a callback OpenSSL asks on the terminal where the file is an encrypted key
  EVP_PKEY* key = PEM_read_bio_PUBKEY(bio.get(), nullptr, give_passphrase, &none);
  return PublicKey(checked(key, file, "public"));
}

std::string to_base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int size =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(size));
  return text;
}

std::string from_base64(std::string_view text, const std::string& what) {
  std::string bytes(text.size() / 4 * 3 + 3, '\0');
  const int size =
      EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                      reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (size < 0) throw InputError(what + ": not base64");
  bytes.resize(static_cast<std::size_t>(size));
  for (int padding = 0; padding < 2 && text.ends_with('='); ++padding, text.remove_suffix(1))
    bytes.pop_back();
  if (to_base64(bytes).substr(0, text.size()) != text) throw InputError(what + ": not base64");
  return bytes;
}

}  // namespace cai
