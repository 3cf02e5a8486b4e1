select distinct on (provider)
       provider, title, creator, license || ' ' || license_version as license, foreign_landing_url
  from (select provider, title, creator, license, license_version, foreign_landing_url from image
         union all
        select provider, title, creator, license, license_version, foreign_landing_url from audio) media
 where provider = any(%s) and title is not null
 order by provider, title
