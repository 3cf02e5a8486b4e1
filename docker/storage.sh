#!/bin/sh
# Create the bucket, and a user who may only read and write in it. Running it again sets the user's current password.
# Passwords are passed through pipes: arguments are visible in process lists.
set -eu
server=${STORAGE:-http://minio:9000}
secrets=${SECRETS_FOLDER:-/run/secrets}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export MC_CONFIG_DIR="$scratch/mc"

root_password=$(cat "$secrets/storage_root_password")
password=$(cat "$secrets/storage_password")

printf '%s\n%s\n' catalog-root "$root_password" | mc --quiet alias set root "$server" >/dev/null
mc --quiet mb --ignore-existing root/catalog
cat >"$scratch/policy.json" <<'JSON'
{
  "Version": "2012-10-17",
  "Statement": [
    {"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"], "Resource": ["arn:aws:s3:::catalog"]},
    {
      "Effect": "Allow",
      "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
      "Resource": ["arn:aws:s3:::catalog/*"]
    }
  ]
}
JSON
mc --quiet admin policy create root catalog "$scratch/policy.json"
printf '%s\n%s\n' catalog "$password" | mc --quiet admin user add root >/dev/null
# Fails when the user has the policy already; the next lines check that the user has access.
mc --quiet admin policy attach root catalog --user catalog >/dev/null 2>&1 || true
printf '%s\n%s\n' catalog "$password" | mc --quiet alias set tasks "$server" >/dev/null
mc --quiet ls tasks/catalog >/dev/null
echo "storage: bucket catalog and its user are ready"
