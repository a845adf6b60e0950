"""All settings in one flat file. docs/operations.md lists each variable that is read from the environment."""

import secrets
import sys
import tempfile
from pathlib import Path

from django.utils.translation import gettext_lazy

from portal.env import database_from_url, email_from_url, env_bool, env_float, env_int, env_list, env_str

BASE_DIR = Path(__file__).resolve().parent.parent
APP_VERSION = "0.1.0"

# The settings are read before any test file, so a test run is known by its runner; it never touches a real home.
TESTING = env_bool("PHASEGATE_TESTING", "pytest" in sys.modules)
HOME_DIR = Path(
    env_str("PHASEGATE_HOME") or (tempfile.mkdtemp(prefix="phasegate-tests-") if TESTING else BASE_DIR / ".demo")
).resolve()
DEMO = env_bool("PHASEGATE_DEMO", False)
DEBUG = env_bool("PHASEGATE_DEBUG", False)


def _secret_key() -> str:
    key = env_str("PHASEGATE_SECRET_KEY")
    if key:
        return key
    # Without a key from outside, one is made once and kept beside the data (mode 600).
    path = HOME_DIR / "secret_key"
    if not path.exists():
        HOME_DIR.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(64), encoding="ascii")
    return path.read_text(encoding="ascii").strip()


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = env_list("PHASEGATE_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")
CSRF_TRUSTED_ORIGINS = env_list("PHASEGATE_TRUSTED_ORIGINS")
PUBLIC_URL = env_str("PHASEGATE_PUBLIC_URL", "http://127.0.0.1:8000")
HTTPS = env_bool("PHASEGATE_HTTPS", False)

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.forms",
    "allauth",
    "allauth.account",
    "guardian",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_filters",
    "django_htmx",
    "django_tables2",
    "template_partials",
    "csp",
    "django_prometheus",
    "portal.core",
    "devices",
    "usecases",
    "governance",
    "edge_bridge",
    "coe",
    "marketplace",
    "portal.dashboard",
]

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "portal.core.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "portal.core.middleware.PortalMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.core.context_processors.shell",
            ],
        },
    }
]
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"
DJANGO_TABLES2_TEMPLATE = "components/table.html"

DATABASES = {"default": database_from_url(env_str("DATABASE_URL", f"sqlite:///{HOME_DIR / 'phasegate.sqlite3'}"))}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

AUTH_USER_MODEL = "core.User"
AUTHENTICATION_BACKENDS = [
    "allauth.account.auth_backends.AuthenticationBackend",
    "django.contrib.auth.backends.ModelBackend",
    "guardian.backends.ObjectPermissionBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ANONYMOUS_USER_NAME = None  # guardian: anonymous visitors have no grants at all
GUARDIAN_MONKEY_PATCH_USER = False
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_ADAPTER = "portal.core.accounts.ClosedAdapter"
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_RATE_LIMITS = {"login_failed": "10/m/ip,5/5m/key"}
ACCOUNT_PREVENT_ENUMERATION = True
BEHIND_PROXY = env_bool("PHASEGATE_BEHIND_PROXY", False)
# Sign-in is limited per address: behind a proxy the caller's is the last that the proxy added, and the proxy's own would be everybody's.
ALLAUTH_TRUSTED_PROXY_COUNT = 1 if BEHIND_PROXY else 0

MAIL = email_from_url(env_str("PHASEGATE_EMAIL_URL"))
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if MAIL.host else 'dummy'}.EmailBackend"
EMAIL_HOST, EMAIL_PORT, EMAIL_HOST_USER, EMAIL_HOST_PASSWORD, EMAIL_USE_TLS, EMAIL_USE_SSL = MAIL
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env_str("PHASEGATE_EMAIL_FROM", "Phasegate <phasegate@localhost>")

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
CSRF_FAILURE_VIEW = "portal.core.errors.csrf_failure"
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_SSL_REDIRECT = env_bool("PHASEGATE_SSL_REDIRECT", False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000

# The hashes allow the fixed style elements that Plotly and Cytoscape insert; tests/browser recomputes them.
CHART_STYLE_HASHES = [
    "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
    "'sha256-pgvDUBa4IjFA2yuSJ2cqcyxmNYJMborsd0ORcRv9vw8='",
]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'self'"],
        "script-src": ["'self'"],
        "style-src": ["'self'", *CHART_STYLE_HASHES],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "object-src": ["'none'"],
        "base-uri": ["'self'"],
        "form-action": ["'self'"],
        "frame-ancestors": ["'none'"],
    }
}

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_I18N = True
FORMAT_MODULE_PATH = ["portal.formats"]
USE_TZ = True

STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = env_str("PHASEGATE_STATIC_ROOT", str(HOME_DIR / "static"))
WHITENOISE_USE_FINDERS = DEBUG or TESTING
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if WHITENOISE_USE_FINDERS
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# Who invoices: a name, and an address whose lines are parted by "|". Without them an invoice says that they are missing.
SELLER_NAME = env_str("PHASEGATE_SELLER_NAME")
SELLER_ADDRESS = [line.strip() for line in env_str("PHASEGATE_SELLER_ADDRESS").split("|") if line.strip()]
SELLER_TAX_ID = env_str("PHASEGATE_SELLER_TAX_ID")

# A filter that is not set shows everything, and says so.
FILTERS_EMPTY_CHOICE_LABEL = gettext_lazy("All")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "portal.core.api.authentication.BearerAuthentication",
        "portal.core.api.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["portal.core.api.permissions.SignedInWithScope"],
    "DEFAULT_RENDERER_CLASSES": ["portal.core.api.renderers.OrjsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["portal.core.api.renderers.OrjsonParser"],
    "DEFAULT_PAGINATION_CLASS": "portal.core.api.pagination.Cursor",
    "DEFAULT_FILTER_BACKENDS": ["portal.core.api.filtering.AskedFilters"],
    "DEFAULT_SCHEMA_CLASS": "portal.core.api.schema.PhasegateSchema",
    "DEFAULT_THROTTLE_CLASSES": ["portal.core.api.throttling.PerClientThrottle"],
    "DEFAULT_THROTTLE_RATES": {"client": env_str("PHASEGATE_API_RATE", "3000/min")},
    "EXCEPTION_HANDLER": "portal.core.api.problems.exception_handler",
    "URL_FORMAT_OVERRIDE": None,
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
    "COERCE_DECIMAL_TO_STRING": True,
    "DATETIME_FORMAT": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Phasegate API",
    "VERSION": "1.0.0",
    "DESCRIPTION": "Use cases, devices, evidence and money of an industrial AIoT programme.",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "SCHEMA_PATH_PREFIX": r"/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "RetrospectiveStateEnum": "coe.choices.RetrospectiveState",
        "ActionStateEnum": "coe.choices.ActionState",
        "ReplayStateEnum": "devices.choices.ReplayState",
        "DeviceStateEnum": "devices.choices.DeviceState",
        "CredentialStateEnum": "devices.choices.CredentialState",
        "InstallationStateEnum": "edge_bridge.choices.InstallationState",
        "RolloutStateEnum": "edge_bridge.choices.RolloutState",
        "WaveStateEnum": "edge_bridge.choices.WaveState",
        "TargetStateEnum": "edge_bridge.choices.TargetState",
        "VersionStateEnum": "governance.choices.VersionState",
        "CheckStateEnum": "governance.choices.CheckState",
        "AlertStateEnum": "governance.choices.AlertState",
        "IncidentStateEnum": "governance.choices.IncidentState",
        "RetrainingStateEnum": "governance.choices.RetrainingState",
        "ServiceStateEnum": "marketplace.choices.ServiceState",
        "SubscriptionStateEnum": "marketplace.choices.SubscriptionState",
        "InvoiceStateEnum": "marketplace.choices.InvoiceState",
        "UseCaseStateEnum": "usecases.choices.UseCaseState",
        "PhaseEnum": "usecases.choices.Phase",
        "GateStateEnum": "usecases.choices.GateState",
        "CriterionStateEnum": "usecases.choices.CriterionState",
        "ReviewStateEnum": "usecases.choices.ReviewState",
        "ConditionKindEnum": "usecases.choices.ConditionKind",
        "RaterRoleEnum": "usecases.api.rounds.ROLE_CHOICES",
        "RunKindEnum": "usecases.choices.RunKind",
        "LineKindEnum": "usecases.choices.LineKind",
        "KpiSourceEnum": "usecases.choices.KpiSource",
        "CriterionSourceEnum": "usecases.choices.CriterionSource",
        "JobStateEnum": "portal.core.models.JobState",
        "PersonStateEnum": "portal.core.people.PersonState",
        "HealthEnum": ["ok", "watch", "breach", "unknown"],
        "TroubleStateEnum": ["breach", "watch"],
        "SloStateEnum": ["ok", "watch", "breach", "not_measured"],
        "SignalStateEnum": ["ok", "low", "high", "missing", "stale", "none", "undescribed"],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "portal.core.api.schema.add_conventions",
    ],
}

REDIS_URL = env_str("REDIS_URL", "")
# kombu names a unix socket differently from redis-py.
CELERY_BROKER_URL = REDIS_URL.replace("unix://", "redis+socket://", 1) if REDIS_URL else "memory://"
CELERY_RESULT_BACKEND = None
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_TASK_TIME_LIMIT = 1800
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 3600, "socket_timeout": 10, "socket_connect_timeout": 5}
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(HOME_DIR / "celerybeat-schedule")

MLFLOW_TRACKING_URI = env_str("MLFLOW_TRACKING_URI", f"sqlite:///{HOME_DIR / 'mlflow.sqlite3'}")
MLFLOW_ARTEFACT_ROOT = env_str("MLFLOW_ARTEFACT_ROOT", str(HOME_DIR / "mlflow-artefacts"))
LAKE_URI = env_str("PHASEGATE_LAKE", str(HOME_DIR / "lake"))
ARTEFACT_DIR = Path(env_str("PHASEGATE_ARTEFACTS", str(HOME_DIR / "artefacts")))
SIGNING_KEY_FILE = Path(env_str("PHASEGATE_SIGNING_KEY_FILE", str(HOME_DIR / "signing_key.pem")))
MQTT_URL = env_str("MQTT_URL", "")

# Thresholds people may tune; the pages that use them name them.
ROBUSTNESS_CLEAR = env_float("PHASEGATE_ROBUSTNESS_CLEAR", 0.8)
ROBUSTNESS_CLOSE = env_float("PHASEGATE_ROBUSTNESS_CLOSE", 0.5)
ROBUSTNESS_MARGIN = env_float("PHASEGATE_ROBUSTNESS_MARGIN", 0.05)
ROBUSTNESS_KAPPA = env_float("PHASEGATE_ROBUSTNESS_KAPPA", 30.0)
SMAA_DRAWS = env_int("PHASEGATE_SMAA_DRAWS", 10_000)
# Reviews of gates: signatures are wanted within so many days; signers are reminded after the first, then every so many days, and a day
# before the date and on it. Owners of waivers and conditions are told so many days before these end.
GATE_SIGNATURES_DAYS = 7
GATE_REMIND_AFTER_DAYS = 2
GATE_REMIND_EVERY_DAYS = 3
GATE_REMIND_BEFORE_DUE_DAYS = 1
GATE_EXPIRY_REMIND_DAYS = (14, 3)

LOGGING_CONFIG = None  # structlog is configured in portal.logs, called from the app registry
LOG_JSON = env_bool("PHASEGATE_LOG_JSON", not DEMO)
LOG_LEVEL = env_str("PHASEGATE_LOG_LEVEL", "INFO")
SILENCED_SYSTEM_CHECKS: list[str] = []
TEST_RUNNER = "django.test.runner.DiscoverRunner"
