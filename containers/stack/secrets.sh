# Settings and secrets of the compose stack, a part of containers/stack.sh. $folder is where they
# lie, $secrets the folder of secrets in it.
#
# The file of settings rules: what stands in KEPT is taken from the shell at the first start only.
KEPT="MELANOMA_HOST MELANOMA_TAG AIRFLOW_PORT MLFLOW_PORT APP_PORT AIRFLOW_TLS_PORT MLFLOW_TLS_PORT
    APP_TLS_PORT AIRFLOW_URL POSTGRES_IMAGE REDIS_IMAGE PROXY_IMAGE MELANOMA_REGISTRY S3_BYTES S3_URL
    S3_REGION MELANOMA_STORE MLFLOW_ARTIFACTS"
ADDRESS='https?://[][A-Za-z0-9._~:/%-]+' # without a password
PORT='([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])'

setting() { # NAME [FILE]: its value in the file of settings
    sed -n "s/^$1=//p" "${2:-$folder/environment}"
}

form() { # NAME: the form of its value, an extended regular expression
    case $1 in
    # Compose 1 would quietly take another name for one of another form.
    COMPOSE_PROJECT_NAME) printf '%s' '[a-z0-9][a-z0-9_-]*' ;;
    MELANOMA_SECRETS) printf '%s' "/[^[:cntrl:]'\"\`\$#\\]*[^[:cntrl:]'\"\`\$#\\ ]" ;;
    MELANOMA_HOST) printf '%s' '[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?' ;;
    MELANOMA_TAG) printf '%s' '[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}' ;;
    MELANOMA_STORE | MLFLOW_ARTIFACTS)
        printf '%s' 's3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?'
        ;;
    MELANOMA_REGISTRY) printf '%s' '[A-Za-z0-9][A-Za-z0-9._:/-]*/' ;;
    *_IMAGE) printf '%s' '[A-Za-z0-9][A-Za-z0-9._:/@-]*' ;;
    *_TLS_PORT) printf '%s' "([0-9.]+:)?$PORT" ;;
    *_PORT) printf '%s' "$PORT" ;;
    *_URL) printf '%s' "$ADDRESS" ;;
    S3_REGION) printf '%s' '[a-z0-9-]+' ;;
    S3_BYTES | SECONDS_TO_START) printf '%s' '(0|[1-9][0-9]{0,15})' ;;
    esac
}

check() { # NAME VALUE [NAME FOR PEOPLE]: refuse a value of another form, before it is written or used
    # A line's end in a value would begin another setting.
    [ -n "$(printf '%s' "$2" | tr '\n' '\001' | LC_ALL=C sed -nE "\!^($(form "$1"))\$!p")" ] || refuse \
        "A setting of the stack has another form." "  Expected: ${3:-$1} as $(form "$1")" \
        "  Received: $(printf '%s' "$2" | tr '[:cntrl:]' '?')" \
        "  Do:       correct ${3:-$1}, in the shell or in $folder/environment"
}

from_shell() { # NAME: its value there; empty without one
    eval "printf '%s' \"\${$1:-}\""
}

make_settings() {
    [ ! -s "$folder/environment" ] || return 0
    check COMPOSE_PROJECT_NAME "${PROJECT:-melanoma}" PROJECT
    check MELANOMA_SECRETS "$secrets" "STACK, with /secrets,"
    MELANOMA_HOST=${MELANOMA_HOST:-localhost}
    MELANOMA_TAG=${MELANOMA_TAG:-latest}
    for name in $KEPT; do
        # The dot keeps a line's end at the end of the value, which $() would cut off.
        value=$(from_shell "$name" && echo .)
        value=${value%.}
        [ -z "$value" ] || check "$name" "$value"
    done
    mkdir -p "$folder"
    chmod 700 "$folder"
    {
        echo "# Settings of the compose stack. No secret stands here. What else can be set: docs/compose.md."
        echo "COMPOSE_PROJECT_NAME=${PROJECT:-melanoma}"
        printf 'MELANOMA_SECRETS=%s\n' "$secrets"
        for name in $KEPT; do
            value=$(from_shell "$name")
            [ -z "$value" ] || echo "$name=$value"
        done
    } >"$folder/environment.partial"
    mv "$folder/environment.partial" "$folder/environment"
}

tell_what_is_not_used() { # of the shell, because the file of settings says something else
    for name in COMPOSE_PROJECT_NAME $KEPT; do
        variable=$name
        [ "$name" != COMPOSE_PROJECT_NAME ] || variable=PROJECT
        value=$(from_shell "$variable")
        [ -z "$value" ] || [ "$value" = "$(setting "$name")" ] || printf '%s\n' \
            "$variable of the shell is not used: $folder/environment rules, with $name=$(setting "$name")" >&2
    done
}

# Secrets -----------------------------------------------------------------------------------------

word() { # a random password, of letters and digits: 192 bits, and nothing to escape anywhere
    random=$(head -c 24 /dev/urandom | od -An -tx1 | tr -d ' \n')
    [ ${#random} -eq 48 ] || refuse "No random password can be made." \
        "  Expected: head, od, tr and /dev/urandom" "  Received: ${#random} of 48 digits" \
        "  Do:       apt-get install coreutils"
    printf '%s' "$random"
}

keep() { # NAME: the input as a secret, if there is none yet; containers of any user read it
    if [ -s "$secrets/$1" ]; then # an empty one is what was left of a failure
        cat >/dev/null
        return
    fi
    cat >"$secrets/.$1.partial"
    if [ ! -s "$secrets/.$1.partial" ]; then
        rm "$secrets/.$1.partial"
        refuse "A secret could not be made." "  Expected: the content of $secrets/$1" \
            "  Received: nothing" "  Do:       mend what is said above, then try again"
    fi
    chmod 444 "$secrets/.$1.partial"
    mv -f "$secrets/.$1.partial" "$secrets/$1"
}

secret() { cat "$secrets/$1"; }

credentials() { # a key of S3, in AWS's format
    id=$(word)
    key=$(word)
    printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' "$id" "$key"
}

make_secrets() {
    [ -s "$secrets/tls_key" ] || command -v openssl >/dev/null || refuse \
        "There is no openssl, which makes a certificate." "  Do:       apt-get install openssl"
    mkdir -p "$secrets"
    chmod 700 "$folder" "$secrets" # the folder is locked, not the files
    rm -f "$secrets"/.*.partial     # of a start that was killed
    for name in postgres_password postgres_airflow postgres_mlflow redis_password airflow_jwt \
        airflow_api_key mlflow_form_key; do
        word | keep "$name"
    done
    head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '\n' | keep airflow_fernet_key
    for name in s3_store s3_mlflow s3_backup; do credentials | keep "$name"; done
    keep redis_configuration <<CONF
requirepass $(secret redis_password)
bind 0.0.0.0
dir /data
appendonly yes
maxmemory-policy noeviction
CONF
    # Without a line's end, which Airflow would take for a part.
    database="airflow:$(secret postgres_airflow)@postgres/airflow"
    printf '%s' "postgresql+psycopg2://$database" | keep airflow_database
    printf '%s' "db+postgresql+psycopg2://$database" | keep airflow_results
    printf '%s' "redis://:$(secret redis_password)@redis:6379/0" | keep airflow_broker
    database="postgresql+psycopg2://mlflow:$(secret postgres_mlflow)@postgres"
    printf '%s' "$database/mlflow" | keep mlflow_database
    password=$(word)
    printf '[mlflow]\nmlflow_tracking_username = melanoma\nmlflow_tracking_password = %s\n' \
        "$password" | keep mlflow_credentials
    keep mlflow_users <<CONF
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = $database/mlflow_users
admin_username = melanoma
admin_password = $(sed -n 's/^mlflow_tracking_password = //p' "$secrets/mlflow_credentials")
CONF
    engineer=$(word)
    physician=$(word)
    printf '{"engineer": "%s", "physician": "%s"}\n' "$engineer" "$physician" | keep airflow_users
    password=$(word)
    printf 'physician:%s\n' "$password" | keep app_users
    make_certificate
}

make_certificate() { # a trial's own; put one of your house's in its place
    if [ -s "$secrets/tls_certificate" ] && [ -s "$secrets/tls_key" ]; then return; fi
    for name in tls_certificate tls_key; do
        [ ! -s "$secrets/$name" ] || refuse "Of the certificate and its key one is missing." \
            "  Expected: tls_certificate and tls_key in $secrets, or neither" \
            "  Received: $name alone" "  Do:       put the other beside it, or remove it"
    done
    host=$(setting MELANOMA_HOST)
    host=${host:-localhost}
    kind=DNS
    ! is_address "$host" || kind=IP
    new=$secrets/.tls
    if ! said=$(openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 \
        -subj "/CN=$host" -addext "subjectAltName=$kind:$host,DNS:localhost" \
        -keyout "$new.key.partial" -out "$new.certificate.partial" 2>&1); then
        rm -f "$new.key.partial" "$new.certificate.partial"
        refuse "No certificate could be made." "  Expected: openssl, and a MELANOMA_HOST that it takes" \
            "  Received: $said" "  Do:       apt-get install openssl, or correct MELANOMA_HOST in" \
            "            $folder/environment; or put your own into tls_certificate and tls_key"
    fi
    keep tls_key <"$new.key.partial"
    keep tls_certificate <"$new.certificate.partial"
    rm "$new.key.partial" "$new.certificate.partial"
}

is_address() { printf '%s\n' "$1" | grep -Eq '^[0-9]+(\.[0-9]+){3}$'; } # of IPv4, not a name

check_certificate() { # before the proxy starts: nginx or a browser would refuse these only later
    host=$(setting MELANOMA_HOST)
    host=${host:-localhost}
    command -v openssl >/dev/null || refuse \
        "There is no openssl, which reads the certificate." "  Do:       apt-get install openssl"
    certificate=$secrets/tls_certificate
    wrong=
    # openssl takes other forms too, nginx does not.
    grep -q -- '-BEGIN .*CERTIFICATE-' "$certificate" || wrong="a certificate that is not in PEM"
    grep -q -- '-BEGIN .*PRIVATE KEY-' "$secrets/tls_key" || wrong="a key that is not in PEM"
    [ -n "$wrong" ] || public=$(openssl x509 -in "$certificate" -noout -pubkey 2>&1) ||
        wrong=$public
    [ -n "$wrong" ] || openssl x509 -in "$certificate" -noout -checkend 0 >/dev/null ||
        wrong="one that ended: $(openssl x509 -in "$certificate" -noout -enddate)"
    asked=-checkhost
    ! is_address "$host" || asked=-checkip
    [ -n "$wrong" ] || openssl x509 -in "$certificate" -noout $asked "$host" |
        grep -q 'does match' || wrong="one that does not hold this name"
    [ -n "$wrong" ] ||
        own=$(openssl pkey -in "$secrets/tls_key" -passin pass: -pubout 2>&1) || wrong="a key: $own"
    [ -n "$wrong" ] || [ "$own" = "$public" ] || wrong="a key of another certificate"
    [ -z "$wrong" ] || refuse "The proxy cannot use its certificate." \
        "  Expected: tls_certificate and tls_key in $secrets, in PEM, for the name $host" \
        "  Received: $wrong" \
        "  Do:       put both of your house there; or remove both, and the next start makes a" \
        "            trial's own"
}
